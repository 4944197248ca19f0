"""Data sets: cards, layouts, pictures and their files, and the hub they come from."""
