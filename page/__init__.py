"""The page's rooms: what a visitor sees and hears."""
