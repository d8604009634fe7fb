"""From maps to polygons of text lines, with numpy, OpenCV and shapely alone."""
