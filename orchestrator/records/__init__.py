"""What crosses a floor: frozen, plain, picklable values that can be written as JSON and read back."""
