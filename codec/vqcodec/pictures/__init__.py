"""Pictures of any format <-> uint8 planes and metadata. Only these modules and the Pillow plugin use Pillow's readers."""
