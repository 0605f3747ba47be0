"""TODO sources/threecx"""
