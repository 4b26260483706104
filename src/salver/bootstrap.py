"""The one composition root: builds the parts and wires them to each other."""
