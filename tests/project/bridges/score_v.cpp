#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

// chapter score_v

template <typename Number>
std::vector<Number> line() {
    std::string text;
    std::getline(std::cin, text);
    std::istringstream words(text);
    std::vector<Number> numbers;
    for (Number x; words >> x;) numbers.push_back(x);
    return numbers;
}

int main() {
    const auto s = line<size_t>();  // n_kv_h, n_groups, seq, total_seq, dqkv
    const auto weights = line<float>(), v = line<float>();
    std::vector<float> out(s[2] * s[0] * s[1] * s[4], NAN);
    score_v(out.data(), weights.data(), v.data(), s[0], s[1], s[2], s[3], s[4]);
    for (float x : out) std::printf("%.9g ", x);
    std::printf("\n");
}
