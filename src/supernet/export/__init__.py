"""Networks to take away: model folders, ONNX, torch.export, each checked against the subnet."""
