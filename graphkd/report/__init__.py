"""Reports of finished runs: tables, charts, pictures of pages, document graphs."""
