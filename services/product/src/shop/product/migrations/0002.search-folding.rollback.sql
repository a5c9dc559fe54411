DROP TRIGGER products_folding ON products;
DROP FUNCTION fold_product();
DROP FUNCTION fold_letters(text);
