"""What earlier processes left on this machine.

backlog         run folders of which no server is known to have all
sync            brings them to the server, several at a time
uploader        the process that does so by itself when a run could not
local_server    the server of this machine, asked a single question without the engine
server_start    starting it
"""
