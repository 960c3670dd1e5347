"""A store as a whole.

stores    a database and the objects that it names, which belong together
backup    one moment of it, copied and restored
verify    every byte that has a checksum is read and checked
"""
