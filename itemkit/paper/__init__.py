"""From numbers to a paper: figures, tables, the page, and the committed reference."""
