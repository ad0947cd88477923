"""static_layer"""
