"""Reading whole pages: regions, lines, words, text and their order, without torch and Detectron2."""
