"""This process: how it forks, is stopped and ends.

forks       what a fork must not fall into
stopping    Ctrl-C, sent by the engine's thread to a program whose run is to stop
ending      how a run ended as far as this process goes
handover    run folders left to a process that goes on sending them
"""
