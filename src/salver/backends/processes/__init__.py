"""Commands and containers of this machine as supervised processes behind HTTP."""
