"""Prediction on images and PDFs: reading pages, running models, writing results."""
