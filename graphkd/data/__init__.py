"""Data: catalog of data sets, loading, checks and converters."""
