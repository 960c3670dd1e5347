"""What changed, for open pages.

feed    who watches which run, and what is told
"""
