int main() { return std::rand(); }
