"""Readers of single lines, CRNN, RARE and STAR: bodies, necks, decoders and the models."""

from graphkd.modeling.line.recognizer import CRNN, RARE, STAR, LineRecognizer, add_reader_config

__all__ = ["CRNN", "RARE", "STAR", "LineRecognizer", "add_reader_config"]
