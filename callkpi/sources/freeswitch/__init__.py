"""TODO sources/freeswitch"""
