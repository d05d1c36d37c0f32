"""The legacy side: connecting, describing and streaming source entities."""
