"""An embedding to be made: from the options of a call to one frozen description."""
