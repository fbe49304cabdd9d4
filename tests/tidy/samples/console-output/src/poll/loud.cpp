void a() { std::cout << 1; }
void b() { std::cerr << 1; }
void c() { printf("x"); }
void d() { std::fprintf(stderr, "x"); }
void e(char* to) { std::snprintf(to, 1, "x"); }
