int dead;
