"""Files on their way to a server, and back.

saved             what is to be sent of the files that `save()` named, and which server has what
uploader          sends them, to our server and to W&B's in the same way
signed_address    sends one file to a URL that is itself the right to put it there
transfer          files between the disk and a server, in bounded memory
"""
