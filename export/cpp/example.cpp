// Runs a model of a bundle: `textrnn_example BUNDLE [TEXT] [SEED]`.

#include "textrnn.hpp"

#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: textrnn_example BUNDLE [TEXT] [SEED]\n";
        return 2;
    }
    try {
        const textrnn::Model model(argv[1]);
        const std::string text = argc > 2 ? argv[2] : "";
        if (model.kind() == "language_model") {
            textrnn::GenerateOptions options;
            options.temperature = 0.8;
            if (argc > 3) options.seed = std::strtoull(argv[3], nullptr, 10);
            std::cout << text;
            model.generate(text, options, [](std::string_view piece) {
                std::cout << piece << std::flush;
                return true;
            });
            std::cout << '\n';
        } else if (model.kind() == "classifier" || model.kind() == "multilabel_classifier") {
            const textrnn::Prediction prediction = model.classify({text})[0];
            for (const std::string& label : prediction.labels) std::cout << label << '\n';
            for (std::size_t i = 0; i < model.labels().size(); ++i) {
                std::cout << "  " << model.labels()[i] << ": " << prediction.probabilities[i] << '\n';
            }
        } else if (model.kind() == "text_to_text") {
            std::cout << model.transform({text})[0].text() << '\n';
        } else {
            std::cout << "a " << model.kind() << " that reads " << model.features() << " numbers a step\n";
        }
    } catch (const textrnn::Error& error) {
        std::cerr << "error: " << error.what() << '\n';
        return 1;
    }
}
