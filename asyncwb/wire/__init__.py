"""The language that the engine and the server share.

Everything here is pure: no socket, no file, no thread, no event loop and no clock (time is an
argument). A row that one end encodes is a row that the other end decodes, whatever lies between.
"""
