"""TODO sources/asterisk"""
