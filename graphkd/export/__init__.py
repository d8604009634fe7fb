"""Trained models as files that run without this project, compared with the model they came from."""
