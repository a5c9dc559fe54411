-- Words are found, and titles sorted, as people without æ, ø or ł on the keyboard write them (shop.kit.text.LETTERS).
-- A trigger does it, so that what a replica of the version before writes during an upgrade is found as well.
CREATE FUNCTION fold_letters(words text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT translate(replace(replace(replace(words, 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), 'øđðħıĸłŋŧ', 'oddhiklnt')
$$;

CREATE FUNCTION fold_product() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    words text := array_to_string(tsvector_to_array(NEW.search), ' ');
BEGIN
    NEW.sort_name := fold_letters(NEW.sort_name);
    IF words <> fold_letters(words) THEN
        NEW.search := NEW.search || to_tsvector('simple', fold_letters(words));
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER products_folding BEFORE INSERT OR UPDATE OF search, sort_name ON products
    FOR EACH ROW EXECUTE FUNCTION fold_product();

UPDATE products SET search = search WHERE concat(search, sort_name) ~ '[æœþøđðħıĸłŋŧ]';
