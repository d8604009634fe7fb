"""The pages themselves: catalog, loading, checks, converters and generated pages; no model."""
