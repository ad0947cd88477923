"""dynamic_layer"""
