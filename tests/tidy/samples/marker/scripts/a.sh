# FIXME: soon
