"""The bundled model: its world, its corpus, its training, and the measurements in its model card."""
