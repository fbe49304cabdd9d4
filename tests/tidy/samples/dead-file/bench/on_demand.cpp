int bench;
