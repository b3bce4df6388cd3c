// Measures the processor time of a generated character: `benchmark BUNDLE TOKENS`, the best of five.

#include "textrnn.hpp"

#include <cstdlib>
#include <ctime>
#include <iostream>

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    const textrnn::Model model(argv[1]);
    textrnn::GenerateOptions options;
    options.length = std::atoi(argv[2]);
    options.seed = 1;
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 5; ++i) {
        const std::clock_t begin = std::clock();
        const std::string text = model.generate("", options);
        const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
        best = std::min(best, seconds / static_cast<double>(textrnn::detail::count_characters(text)));
    }
    std::cout << best * 1e6 << '\n';
}
