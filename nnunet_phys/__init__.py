"""Physics-driven contrast randomisation for nnU-Net v2: train on bSSFP cine, segment contrasts never seen."""
