"""Running the notebooks of a profile, and what a run needs before it starts."""
