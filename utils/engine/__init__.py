"""What every chapter stands on: the graph as data, the hooks, the checks of arguments, a cross-layer transcoder's weights."""
