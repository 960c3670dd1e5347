"""What changed, for open pages.

feed            who watches which run, and what is told
other_servers   what the servers of one database tell each other
"""
