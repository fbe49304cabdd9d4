static_assert(1);
void f(int n) { assert(n > 0); }
