"""segue"""
