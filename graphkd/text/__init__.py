"""What detecting and reading text share, without torch: from maps to polygons, cutting lines out of
pages, the preparation of line pictures, charsets, and decoding of CTC frames.
"""
