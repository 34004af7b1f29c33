"""The lab's tasks for a deep belief network and its fine-tuning."""
