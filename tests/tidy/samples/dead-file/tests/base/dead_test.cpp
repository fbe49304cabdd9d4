int dead_test;
