g++ -std=c++23 -Iinclude -Iexamples/tutorial my_echo.cpp build/release/libduolu.a -o my_echo
