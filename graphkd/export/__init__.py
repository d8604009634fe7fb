"""Export of trained models to files that run without this project, with a comparison of both."""
