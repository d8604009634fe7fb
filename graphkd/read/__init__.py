"""Reading whole pages with three small models, without torch and Detectron2."""
