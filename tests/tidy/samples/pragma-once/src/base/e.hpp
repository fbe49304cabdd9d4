#ifndef E_HPP
#define E_HPP
#endif
