"""MuscleMap's networks as guests: a U-Net over windows of slices, fed chunk by chunk."""
