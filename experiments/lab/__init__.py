"""What the lab asks to see of each family of models: measures, figures and answers."""
